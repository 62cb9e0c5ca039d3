//! The order in which the deployments of a model are tried. Pure: the dice and the health are arguments.

use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::DeploymentRule;

/// Puts `deployments` into the order of attempts.
///
/// First the healthy ones, drawn by weight without replacement; then healthy fallbacks (weight 0) as written; last
/// those that cool down, the one that is back soonest first: they are better than no answer.
pub fn order(
    deployments: &[Arc<DeploymentRule>],
    cooling: impl Fn(&str) -> Option<Duration>,
    dice: u64,
) -> Vec<Arc<DeploymentRule>> {
    if let [only] = deployments {
        return vec![only.clone()];
    }
    let mut weighted = Vec::with_capacity(deployments.len());
    let mut fallback = Vec::new();
    let mut cold = Vec::new();
    for deployment in deployments {
        match cooling(&deployment.name) {
            Some(left) => cold.push((left, deployment.clone())),
            None if deployment.weight == 0 => fallback.push(deployment.clone()),
            None => weighted.push(deployment.clone()),
        }
    }
    let mut order = draw(weighted, dice);
    order.append(&mut fallback);
    cold.sort_by_key(|(left, _)| *left);
    order.extend(cold.into_iter().map(|(_, deployment)| deployment));
    order
}

/// Weighted draw without replacement. Each draw takes fresh dice from the last by one step of splitmix64.
fn draw(mut pool: Vec<Arc<DeploymentRule>>, mut dice: u64) -> Vec<Arc<DeploymentRule>> {
    let mut order = Vec::with_capacity(pool.len());
    while !pool.is_empty() {
        let total: u64 = pool.iter().map(|deployment| u64::from(deployment.weight)).sum();
        dice = splitmix(dice);
        let mut ticket = dice.checked_rem(total).unwrap_or(0);
        let mut winner = 0;
        for (at, deployment) in pool.iter().enumerate() {
            let weight = u64::from(deployment.weight);
            if ticket < weight {
                winner = at;
                break;
            }
            ticket = ticket.saturating_sub(weight);
        }
        order.push(pool.remove(winner));
    }
    order
}

/// splitmix64 (Steele, Lea, Flood 2014): one well-mixed step.
fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::settings::{Address, Provider, Timeouts};

    pub(crate) fn deployment(name: &str, weight: u32) -> Arc<DeploymentRule> {
        Arc::new(DeploymentRule {
            name: name.into(),
            provider: Provider::OpenAi,
            endpoints: Provider::OpenAi.usual_endpoints().into(),
            address: Address::Tcp { host: "127.0.0.1".into(), port: 1, tls: false, http2: false },
            base_path: "/v1".into(),
            api_key: None,
            tenant_key: None,
            model: "m".into(),
            region: None,
            owner: None,
            data_class: None,
            price_provider: "openai".into(),
            weight,
            gpu: None,
            queue: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(1),
                first_byte: Duration::from_secs(1),
                idle: Duration::from_secs(1),
            },
        })
    }

    fn names(order: &[Arc<DeploymentRule>]) -> Vec<&str> {
        order.iter().map(|deployment| deployment.name.as_ref()).collect()
    }

    #[test]
    fn first_places_follow_the_weights() {
        let all = [deployment("a", 90), deployment("b", 10), deployment("c", 0)];
        let first_b = (0..20_000u64).filter(|dice| order(&all, |_| None, *dice)[0].name.as_ref() == "b").count();
        // Expected 2,000; four standard deviations are 170.
        assert!((1_830..2_170).contains(&first_b), "{first_b}");
        assert!((0..1_000u64).all(|dice| order(&all, |_| None, dice)[2].name.as_ref() == "c"));
    }

    #[test]
    fn a_cooling_deployment_comes_last_and_the_soonest_first() {
        let all = [deployment("a", 1), deployment("b", 1), deployment("c", 0)];
        let cooling = |name: &str| match name {
            "a" => Some(Duration::from_secs(9)),
            "b" => Some(Duration::from_secs(2)),
            _ => None,
        };
        for dice in 0..100 {
            assert_eq!(names(&order(&all, cooling, dice)), ["c", "b", "a"]);
        }
    }
}
